"""Countries and their peoples: the one word by which a nationality is counted, however it is written.

All member states of the United Nations, and other places whose people have a word of their own. A row is the word, then
the names of the country and other words for the people. No borders are drawn by this table: what it lacks keeps the
model's word. Where one word stands for the people of two countries nothing tells them apart, and both are counted under
it: Korean (unless North is said), Congolese, Dominican. Every part of the United Kingdom is British.
"""

from __future__ import annotations

_ROWS = """
Afghan: afghanistan, islamic republic of afghanistan, afghani
Albanian: albania, shqipëria
Algerian: algeria, algérie
American: usa, us, u s a, u s, united states, united states of america, america, us american,
  estadounidense, américaine, amerikaner
Andorran: andorra
Angolan: angola
Antiguan: antigua, antigua and barbuda, antiguan and barbudan, barbudan
Argentine: argentina, argentinian, argentinean, argentino
Armenian: armenia
Australian: australia, aussie
Austrian: austria, österreich, österreicher
Azerbaijani: azerbaijan, azeri
Bahamian: bahamas
Bahraini: bahrain
Bangladeshi: bangladesh
Barbadian: barbados, bajan
Belarusian: belarus, byelorussia, byelorussian
Belgian: belgium, belgique, belgië
Belizean: belize
Beninese: benin
Bermudian: bermuda
Bhutanese: bhutan
Bolivian: bolivia, plurinational state of bolivia, boliviano
Bosnian: bosnia, bosnia and herzegovina, bosnia herzegovina, herzegovinian, bosnian and herzegovinian
Botswanan: botswana, motswana, batswana
Brazilian: brazil, brasil, brasileiro, brasileira
British: uk, u k, united kingdom, great britain, britain, england, english, scotland, scottish, wales, welsh,
  brit, briton, northern ireland, northern irish, scot, englishman, englishwoman
Bruneian: brunei, brunei darussalam
Bulgarian: bulgaria
Burkinabe: burkina faso, burkinabé, burkinese
Burmese: myanmar, burma, myanmarese, myanma
Burundian: burundi
Cambodian: cambodia, kampuchea
Cameroonian: cameroon, cameroun
Canadian: canada, canadienne
Cape Verdean: cape verde, cabo verde, cabo verdean
Central African: central african republic
Chadian: chad
Chilean: chile, chileno, chilena
Chinese: china, people's republic of china, prc, mainland china, mainland chinese, 中国, 中国人, 中國, 中國人
Colombian: colombia, colombiano, colombiana
Comorian: comoros, comoran
Congolese: congo, republic of the congo, democratic republic of the congo, democratic republic of congo, dr congo,
  drc, congo brazzaville, congo kinshasa, zaire
Costa Rican: costa rica, costarricense
Croatian: croatia, croat, hrvatska
Cuban: cuba, cubano, cubana
Cypriot: cyprus
Czech: czechia, czech republic
Danish: denmark, dane, danmark, dansk
Djiboutian: djibouti
Dominican: dominican republic, dominica, commonwealth of dominica, dominicano, dominicana
Dutch: netherlands, holland, dutchman, dutchwoman, nederland, nederlands
Ecuadorian: ecuador, ecuadorean, ecuatoriano
Egyptian: egypt
Emirati: uae, united arab emirates, emirates
Equatorial Guinean: equatorial guinea, equatoguinean
Eritrean: eritrea
Estonian: estonia
Ethiopian: ethiopia
Fijian: fiji
Filipino: philippines, filipina, filipinx, pinoy, pilipino
Finnish: finland, finn, suomi
French: france, français, française, frenchman, frenchwoman, république française
Gabonese: gabon
Gambian: gambia
Georgian: georgia
German: germany, deutsch, deutschland, deutscher, deutsche
Ghanaian: ghana, ghanian
Greek: greece, hellas, hellenic
Greenlandic: greenland, greenlander
Grenadian: grenada
Guatemalan: guatemala, guatemalteco
Guinean: guinea
Bissau-Guinean: guinea bissau
Guyanese: guyana
Haitian: haiti, haïti
Honduran: honduras
Hong Konger: hong kong, hongkonger, hong kongese, hongkongese
Hungarian: hungary, magyar, magyarország
Icelandic: iceland, icelander
Indian: india, bharat
Indonesian: indonesia
Iranian: iran, islamic republic of iran
Iraqi: iraq
Irish: ireland, republic of ireland, irishman, irishwoman, éire
Israeli: israel
Italian: italy, italia, italiano, italiana
Ivorian: ivory coast, côte d'ivoire, ivoirian
Jamaican: jamaica
Japanese: japan, 日本, 日本人, nihonjin
Jordanian: jordan
Kazakh: kazakhstan, kazakhstani
Kenyan: kenya
I-Kiribati: kiribati, i kiribati
Korean: korea, south korea, south korean, republic of korea, 한국, 한국인, 대한민국
North Korean: north korea, dprk, democratic people's republic of korea
Kosovar: kosovo, kosovan
Kuwaiti: kuwait
Kyrgyz: kyrgyzstan, kyrgyzstani, kirghiz
Lao: laos, laotian, lao people's democratic republic
Latvian: latvia
Lebanese: lebanon, liban
Basotho: lesotho, mosotho
Liberian: liberia
Libyan: libya
Liechtensteiner: liechtenstein
Lithuanian: lithuania
Luxembourgish: luxembourg, luxembourger, luxemburg
Macanese: macau, macao
Macedonian: north macedonia, north macedonian, macedonia
Malagasy: madagascar, madagascan
Malawian: malawi
Malaysian: malaysia
Maldivian: maldives
Malian: mali
Maltese: malta
Marshallese: marshall islands
Mauritanian: mauritania
Mauritian: mauritius
Mexican: mexico, méxico, mexicano, mexicana
Micronesian: micronesia, federated states of micronesia
Moldovan: moldova, moldavian
Monegasque: monaco, monégasque, monacan
Mongolian: mongolia
Montenegrin: montenegro
Moroccan: morocco, maroc, marocain, marocaine
Mozambican: mozambique
Namibian: namibia
Nauruan: nauru
Nepali: nepal, nepalese
New Zealander: new zealand, kiwi, aotearoa, nz
Nicaraguan: nicaragua, nicaragüense
Nigerien: niger
Nigerian: nigeria
Norwegian: norway, norge, norsk
Omani: oman
Pakistani: pakistan
Palauan: palau
Palestinian: palestine, state of palestine
Panamanian: panama, panamá
Papua New Guinean: papua new guinea
Paraguayan: paraguay
Peruvian: peru, perú, peruano, peruana
Polish: poland, pole, polska
Portuguese: portugal, português, portuguesa
Puerto Rican: puerto rico, puertorriqueño, boricua
Qatari: qatar
Romanian: romania, românia
Russian: russia, russian federation, россия, русский, русская
Rwandan: rwanda, rwandese
Kittitian: saint kitts and nevis, st kitts and nevis, saint kitts, st kitts, kittitian and nevisian, nevisian
Saint Lucian: saint lucia, st lucia, st lucian
Vincentian: saint vincent and the grenadines, st vincent and the grenadines, saint vincent, saint vincentian
Salvadoran: el salvador, salvadorian, salvadorean, salvadoreño
Samoan: samoa, western samoa
Sammarinese: san marino
Sao Tomean: são tomé and príncipe, são tomé, são toméan
Saudi: saudi arabia, saudi arabian, kingdom of saudi arabia, ksa
Senegalese: senegal, sénégal
Serbian: serbia, serb
Seychellois: seychelles
Sierra Leonean: sierra leone, sierra leonian
Singaporean: singapore
Slovak: slovakia, slovakian, slovak republic
Slovenian: slovenia, slovene
Solomon Islander: solomon islands
Somali: somalia, somalian
South African: south africa, rsa
South Sudanese: south sudan
Spanish: spain, spaniard, españa, español, española
Sri Lankan: sri lanka, ceylon, ceylonese
Sudanese: sudan
Surinamese: suriname, surinam
Swazi: eswatini, swaziland, eswatinian
Swedish: sweden, swede, sverige, svensk
Swiss: switzerland, schweiz, schweizer, suisse
Syrian: syria, syrian arab republic
Taiwanese: taiwan, republic of china, roc, 台湾, 台灣
Tajik: tajikistan, tajikistani
Tanzanian: tanzania, united republic of tanzania
Thai: thailand, ไทย
Timorese: timor leste, east timor, east timorese
Togolese: togo
Tongan: tonga
Trinidadian: trinidad and tobago, trinidad, tobagonian, trinidadian and tobagonian, trini
Tunisian: tunisia, tunisie
Turkish: turkey, türkiye, turkiye, turk, türk
Turkmen: turkmenistan, turkmenistani
Tuvaluan: tuvalu
Ugandan: uganda
Ukrainian: ukraine, україна
Uruguayan: uruguay, uruguayo, uruguaya
Uzbek: uzbekistan, uzbekistani
Ni-Vanuatu: vanuatu, ni vanuatu, vanuatuan
Vatican: vatican city, holy see
Venezuelan: venezuela, bolivarian republic of venezuela, venezolano, venezolana
Vietnamese: vietnam, viet nam, việt nam
Yemeni: yemen, yemenite
Zambian: zambia
Zimbabwean: zimbabwe
"""
PEOPLES = {
    people.strip(): tuple(name.strip() for name in names.split(","))
    for people, _, names in (row.partition(":") for row in _ROWS.replace("\n  ", " ").strip().splitlines())
}
"""The word for each people -> other names of it and of its country, in small letters."""
